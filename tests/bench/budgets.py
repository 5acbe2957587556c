"""The budgets of the journal and the write pipeline. A benchmark prints them beside its figures."""

# What is measured: (unit, budget, goal). Instructions are those of the whole process, with a default configuration.
BUDGETS = {
    "patch": ("k", 200, 150),
    "patch with key": ("k", 260, 190),
    "patch relaxed": ("k", 170, 130),
    "get": ("k", 90, 80),
    "the limits of a caller, GET": ("k", 1.5, None),
    "a model, GET": ("k", 8, None),
    "a model, PATCH": ("k", 6, None),
    "list": ("k", 2500, 1500),
    "patch : nginx plain": ("", 6, 4),
    "patch : obvious": ("", 0.4, 0.25),
    "bytes alone": ("KB", 40, 28),
    "bytes, 32 at a time": ("KB", 25, 15),
    "round trips a batch": ("", 3, 2),
    "round trips a get": ("", 0, 0),
    "patch over a distance": ("ms", 18, 12),
    "verify a write": ("µs", 30, 10),
}


def cells(name, figure):
    """The last three columns of a row: budget, goal, and `ok` or `over`."""
    if name not in BUDGETS:
        return " | | "
    unit, budget, goal = BUDGETS[name]
    verdict = "over" if figure > budget else "ok"
    goal = "" if goal is None else f"{goal} {unit}".strip()
    return f"{budget} {unit}".strip() + f" | {goal} | {verdict}"
