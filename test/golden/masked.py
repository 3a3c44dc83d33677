"""masked.json: losses, softmax and gradients of logits with -infinity (masked classes), by PyTorch in float64."""

import torch
import torch.nn.functional as F

from common import HERE, save_json

INF = float("inf")
# Of 3 classes (kernels read single elements) and of 8 (vectors).
LOGITS = {"3": [0.0, -INF, 1.0], "8": [0.0, -INF, 1.0, -2.0, -INF, 0.5, 2.0, -INF]}
TEACHER = {"3": [1.0, 0.0, -1.0], "8": [1.0, 0.0, -1.0, 0.5, 2.0, -0.5, 0.0, 0.25]}
TAU = 3.0


def text(values) -> list:
    """JSON has no infinities: they are written as words."""
    return [v if abs(v) < INF else str(v) for v in values.detach().flatten().tolist()]


def main(out) -> None:
    cases = []
    for size, row in LOGITS.items():
        n = len(row)

        def case(kind, f, **attributes) -> None:
            z = torch.tensor([row], dtype=torch.float64, requires_grad=True)
            y = f(z)
            # Gradients of several results are weighted 1, 2, 3, ...
            y.backward() if y.dim() == 0 else (y * torch.arange(1, n + 1, dtype=torch.float64)).sum().backward()
            cases.append({"kind": kind, **attributes, "logits": text(z), "y": text(y), "dlogits": text(z.grad)})

        for label in (0, 1):
            for smoothing in (0, 0.1, 1):
                case("crossEntropy", lambda z: F.cross_entropy(z, torch.tensor([label]), label_smoothing=smoothing), label=label, smoothing=smoothing)
        for targets in ([0.75, 0.0, 0.25] + [0.0] * (n - 3), [1 / n] * n):
            t = torch.tensor([targets], dtype=torch.float64)
            case("softTarget", lambda z: F.cross_entropy(z, t), targets=targets)
        for teacher in (TEACHER[size], [-INF if i == 1 else v for i, v in enumerate(TEACHER[size])]):
            t = torch.tensor([teacher], dtype=torch.float64)
            case(
                "kl",
                lambda z: F.kl_div(F.log_softmax(z / TAU, 1), F.log_softmax(t / TAU, 1), reduction="sum", log_target=True) * TAU**2,
                tau=TAU,
                teacher=text(t),
            )
        case("logSoftmax", lambda z: F.log_softmax(z, 1))
        case("softmax", lambda z: F.softmax(z, 1))
    save_json(out / "masked.json", cases)


if __name__ == "__main__":
    main(HERE)
