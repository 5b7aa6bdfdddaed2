"""The paper's network in plain PyTorch, as the authors trained it: what we race with.

Built from the paper and the facts of its code: `nn.GRU`, `nn.MultiheadAttention` that
returns its weights, no masks, streams padded with zeros to the longest of a batch. The
names of the parameters are theirs, so that `jser.training.convert` reads the state.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STREAMS = ("speech", "text", "prosody")
HEADS = {"speech": 1, "text": 1, "prosody": 2}


class Network(nn.Module):
    """Two or three streams; the trimodal network is the same with one more.

    Args:
      widths: Width of each stream, in the order of `STREAMS`.
      hidden: Width of the projections and of one GRU direction.
      classes: Number of emotions.
      neutral: Add the second head, for the soft-margin loss.
      dropout: Rate, on attention probabilities and in the heads.
    """

    def __init__(
        self,
        widths: Sequence[int],
        hidden: int = 512,
        classes: int = 8,
        neutral: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.names = STREAMS[: len(widths)]
        wide = 2 * hidden
        for s, width in zip(self.names, widths, strict=True):
            self.add_module(f"{s}_projection", nn.Linear(width, hidden))
            self.add_module(f"{s}_norm", nn.LayerNorm(hidden))
            gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
            self.add_module(f"{s}_gru", gru)
            attention = nn.MultiheadAttention(
                wide, HEADS[s], dropout=dropout, batch_first=True
            )
            self.add_module(f"{s}_attention", attention)
            self.add_module(f"{s}_attn", nn.Linear(wide, 1))
        joint = wide * len(self.names)
        self.layer_norm = nn.LayerNorm(joint)
        self.classifier = _head(joint, hidden, classes, dropout)
        self.neutral = (
            "classifier_neutral" if len(widths) == 3 else "neutral_classifier"
        )
        if neutral:
            self.add_module(self.neutral, _head(joint, hidden, 1, dropout))

    def forward(self, streams: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Logits [B, C] and, with the neutral head, [B, 1] of frames [B, T, D] each."""
        part = self.get_submodule
        states = {}
        for s, x in zip(self.names, streams, strict=True):
            projected = part(f"{s}_norm")(part(f"{s}_projection")(x))
            states[s], _ = part(f"{s}_gru")(projected)
        pooled = []
        for s in self.names:
            fused = states[s]
            for other in self.names:
                if other != s:
                    x = states[other]
                    attended, _ = part(f"{s}_attention")(states[s], x, x)
                    fused = fused + attended
            weight = torch.softmax(part(f"{s}_attn")(fused), dim=1)
            pooled.append((weight * fused).sum(dim=1))
        joint = self.layer_norm(torch.cat(pooled, dim=-1))
        second = getattr(self, self.neutral, None)
        return self.classifier(joint), None if second is None else second(joint)


def _head(joint: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(joint, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )


def loss_of(
    network: Network, streams: Sequence[Tensor], label: Tensor, class_weight: Tensor
) -> Tensor:
    """Weighted cross entropy, and with the neutral head the soft-margin loss.

    Args:
      network: The network.
      streams: Padded frames, [B, T, D] each.
      label: [B]; neutral is the last class.
      class_weight: [C].
    """
    logits, neutral = network(streams)
    loss = F.cross_entropy(logits, label, weight=class_weight)
    if neutral is None:
        return loss
    sign = (label == len(class_weight) - 1).to(logits.dtype) * 2 - 1
    return loss + F.soft_margin_loss(neutral[:, 0], sign)


def optimizer_of(network: Network) -> torch.optim.AdamW:
    """AdamW as published, at the rate of the first epoch."""
    return torch.optim.AdamW(network.parameters(), lr=1e-5, weight_decay=1e-6)


def train_step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    streams: Sequence[Tensor],
    label: Tensor,
    class_weight: Tensor,
) -> float:
    """Forward, loss, backward, AdamW; the loss, once all of it is done."""
    optimizer.zero_grad()
    loss = loss_of(network, streams, label, class_weight)
    loss.backward()
    optimizer.step()
    return loss.item()
