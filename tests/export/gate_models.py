"""Heads with gates in the forms that people write them, and each form's own way to weigh its sensors anew."""

import torch
from torch import Tensor, nn

SIZES = {"image": 24, "audio": 16, "lidar": 10}
WIDTH = 8
TOKENS = {"image": 3, "audio": 2}
FORMS = {  # and how many sensors
    "softmax": 3, "crossed": 2, "stacked": 2, "attention": 3, "tokens": 2, "complement": 2, "sigmoids": 3, "vector": 2,
    "own": 2, "beside": 2, "twice": 2, "experts": 2,
}  # fmt: skip


class Gated(nn.Module):
    """Vectors of two or three sensors to scores [B, 3], and the gates [B, P].

    ``weights`` [P] is the reference: gates are multiplied by them, and where they add up to one, they do so again.
    """

    def __init__(self, form: str, sensors: int) -> None:
        super().__init__()
        sizes = list(SIZES.values())[:sensors]
        self.form = form
        self.encoders = nn.ModuleList(
            nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, WIDTH), nn.Tanh()) for size in sizes
        )
        self.look = nn.Linear(WIDTH * sensors, sensors)
        self.look_wide = nn.Linear(WIDTH * sensors, sensors * WIDTH)
        self.query = nn.Parameter(torch.randn(1, 2, 1, WIDTH))
        self.tokens = nn.ModuleList(nn.Linear(WIDTH, WIDTH * count) for count in TOKENS.values())
        self.own = nn.ModuleList(nn.Linear(WIDTH, 1) for _ in sizes)
        self.head = nn.Sequential(nn.Linear(WIDTH * (2 if form in {"attention", "tokens"} else 1), 16), nn.ReLU())
        self.decide = nn.Linear(16, 3)

    def forward(self, *sensors: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        vectors = [encode(values) for encode, values in zip(self.encoders, sensors, strict=True)]
        weights = torch.ones(len(vectors)) if weights is None else weights
        joined, gates = getattr(self, f"_{self.form}")(vectors, torch.cat(vectors, 1), weights)
        return self.decide(self.head(joined)), gates

    def _softmax(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """[B, P], a slice for each sensor."""
        gates = again_one(torch.softmax(self.look(both), 1), weights, 1)
        return sum(gates[:, i : i + 1] * vector for i, vector in enumerate(vectors)), gates

    def _crossed(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The gates lie in another order than the sensors."""
        gates = again_one(torch.softmax(self.look(both), 1), weights.flip(0), 1).unbind(1)
        return sum(gates[-1 - i][:, None] * v for i, v in enumerate(vectors)), torch.stack(gates[::-1], 1)

    def _stacked(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """[B, P, D], a softmax for each unit."""
        gates = again_one(torch.softmax(self.look_wide(both).unflatten(1, (len(vectors), -1)), 1), weights[:, None], 1)
        return (gates * torch.stack(vectors, 1)).sum(1), gates.mean(2)

    def _complement(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """A gated multimodal unit of two sensors, z and 1 - z in every unit."""
        z = torch.sigmoid(self.look_wide(both)[:, :WIDTH])
        if not torch.compiler.is_exporting():
            z = weights[0] * z / (weights[0] * z + weights[1] * (1 - z))
        return z * vectors[0] + (1 - z) * vectors[1], torch.stack([z.mean(1), (1 - z).mean(1)], 1)

    def _sigmoids(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """A gate [B, D] for each sensor, which looks at all of them."""
        wide = torch.split(self.look_wide(both), WIDTH, 1)
        gates = [torch.sigmoid(raw) * weight for raw, weight in zip(wide, weights, strict=True)]
        joined = sum(gate * vector for gate, vector in zip(gates, vectors, strict=True))
        return joined, torch.stack([gate.mean(1) for gate in gates], 1)

    def _own(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """A gate [B, 1] for each sensor, which looks at nothing else."""
        pairs = zip(self.own, vectors, weights, strict=True)
        gates = [torch.sigmoid(look(vector)) * weight for look, vector, weight in pairs]
        return sum(g * vector for g, vector in zip(gates, vectors, strict=True)), torch.cat(gates, 1)

    def _vector(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """One sigmoid [B, P] of all gates."""
        gates = torch.sigmoid(self.look(both)) * weights
        return torch.einsum("bp,bpd->bd", gates, torch.stack(vectors, 1)), gates

    def _attention(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Two heads [B, H, 1, P] over a token of each sensor."""
        tokens = torch.stack(vectors, 1)[:, None]
        gates = again_one(torch.softmax(self.query @ tokens.transpose(2, 3), -1), weights, -1)
        return (gates @ tokens).flatten(1), gates.mean((1, 2))

    def _tokens(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Two heads over several tokens of each sensor."""
        made = [make(v).unflatten(1, (-1, WIDTH)) for make, v in zip(self.tokens, vectors, strict=True)]
        tokens = torch.cat(made, 1)[:, None]
        counts = list(TOKENS.values())
        spread = torch.cat([weight.expand(count) for weight, count in zip(weights, counts, strict=True)])
        gates = again_one(torch.softmax(self.query @ tokens.transpose(2, 3), -1), spread, -1)
        shares = [part.sum(-1) for part in torch.split(gates, counts, -1)]
        return (gates @ tokens).flatten(1), torch.stack(shares, -1).mean((1, 2))

    def _beside(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Gates that shut nothing out, as every sensor has a way beside them."""
        joined, gates = self._softmax(vectors, both, weights)
        return joined + vectors[0] + vectors[1], gates

    def _twice(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Two sets of gates behind one another."""
        first = torch.softmax(self.look_wide(both).unflatten(1, (len(vectors), -1))[..., 0], 1)
        return self._softmax([first[:, i : i + 1] * v for i, v in enumerate(vectors)], both, weights)

    def _experts(self, vectors: list[Tensor], both: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """A mixture of two experts that both look at both sensors."""
        gates = torch.softmax(self.look(both), 1)
        experts = self.look_wide(both).unflatten(1, (len(vectors), -1))
        return (gates[..., None] * experts).sum(1), gates


def again_one(gates: Tensor, weights: Tensor, axis: int) -> Tensor:
    """The gates times their weights, so that they add up to one."""
    if torch.compiler.is_exporting():
        return gates
    weighed = gates * weights
    return weighed / weighed.sum(axis, keepdim=True)


class Every(nn.Module):
    """Every form beside the others, so that one export makes all graphs: outputs ``scores_FORM`` and ``gates_FORM``."""

    def __init__(self) -> None:
        super().__init__()
        self.forms = nn.ModuleDict({form: Gated(form, count) for form, count in FORMS.items()})

    def forward(self, image: Tensor, audio: Tensor, lidar: Tensor) -> dict[str, Tensor]:
        made = {}
        for form, gated in self.forms.items():
            sensors = (image, audio, lidar)[: FORMS[form]]
            made[f"scores_{form}"], made[f"gates_{form}"] = gated(*sensors)
        return made


class Two(nn.Module):
    """One form alone."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.gated = Gated(form, 2)

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        return self.gated(image, audio)


def every() -> nn.Module:
    return Every()


def two(form: str) -> nn.Module:
    return Two(form)


EVENT = '[outputs.event]\ntask = "classification"\nlabels = ["a", "b", "c"]\nactivation = "softmax"\n'


def spec_text(form: str = "", more: str = "") -> str:
    """Of one form, or of all."""
    inputs = "".join(
        f'[inputs.{name}]\nmodality = "tensor"\nshape = [{size}]\nrate_hz = 50\n'
        for name, size in list(SIZES.items())[: 2 if form else 3]
    )
    name, arguments = ("two", f'[model.arguments]\nform = "{form}"\n') if form else ("every", "")
    names = ["gates"] if form else [f"{kind}_{each}" for each in FORMS for kind in ("scores", "gates")]
    raw = "".join(f'[outputs.{each}]\ntask = "raw"\n' for each in names)
    model = f'[model]\nname = "gated"\nfactory = "gate_models:{name}"\n{arguments}'
    return f"{model}{inputs}{EVENT if form else ''}{raw}{more}"
