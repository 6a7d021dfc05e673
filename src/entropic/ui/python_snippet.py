"""A plot of the page as the Python lines that draw it from the store."""

import json
from collections.abc import Sequence

from entropic.errors import ParameterError
from entropic.ui.columns import OF_RESULT, Column
from entropic.ui.filters import Filter
from entropic.ui.query import Query

_COMPARED = {"=": "==", "==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_PLAIN = ("integer", "float", "decimal", "boolean", "duration")


def lines_of(query: Query, source: Sequence[str]) -> str:
    """Return the lines.

    Parameters
    ----------
    source
        The lines that make `store`.
    """
    kind = query.asked.get("kind", "scatter")
    if kind not in _DRAWN:
        raise ParameterError(f"kind is one of {', '.join(_DRAWN)}, not {kind!r:.80}")
    data = f"data = store.select().to_pandas(custom_data=True{_results(query)})"
    made = ["import matplotlib.pyplot as plt", *source, "", data]
    for one in query.filters:
        made.append(f"data = data[{_condition(query.columns.get(one.name), one)}]")
    if query.search:
        made.append(f"# (the search for {json.dumps(query.search)} is left out)")
    return "\n".join([*made, *_DRAWN[kind](query), "plt.show()"]) + "\n"


def _condition(column: Column | None, found: Filter) -> str:
    data = f"data[{json.dumps(found.name)}]"
    made = []
    for op, text in found.any_of:
        if text.lower() == "null":
            made.append(f"{data}.notna()" if op == "!=" else f"{data}.isna()")
        elif op == "~":
            made.append(f"{data}.astype(str).str.contains({json.dumps(text)}, case=False, regex=False)")
        else:
            made.append(f"({data} {_COMPARED[op]} {_value(column, text)})")
    return " | ".join(made)


def _value(column: Column | None, text: str) -> str:
    if column is not None and column.kind == "boolean":
        return str(text.lower() in ("true", "yes", "1"))
    if column is None or column.kind in _PLAIN:
        try:
            return repr(int(text)) if text.lstrip("+-").isdigit() else repr(float(text))
        except ValueError:
            pass
    return json.dumps(text)


def _results(query: Query) -> str:
    """Return the argument that asks for the numbers of results which the plot shows."""
    given = [*query.asked.get("columns", "").split(","), *(query.asked.get(one, "") for one in ("x", "y", "z", "c"))]
    names = dict.fromkeys(name.removeprefix(OF_RESULT) for name in given if name.startswith(OF_RESULT))
    return f", results={json.dumps(list(names))}" if names else ""


def _data_name(query: Query, column: Column) -> str:
    """Return what a column is called in the table."""
    name = column.name
    if column.role == "result":
        bare = name.removeprefix(OF_RESULT)
        name = f"result_{bare}" if bare in query.columns else bare
    return json.dumps(name)


def _name(query: Query, option: str) -> str:
    return _data_name(query, query.column(option))


def _scales(query: Query) -> list[str]:
    return [f'plt.{one}scale("log")' for one in ("x", "y") if query.asked.get(f"log{one}") == "1"]


def _labels(query: Query) -> list[str]:
    return [f"plt.xlabel({_name(query, 'x')})", f"plt.ylabel({_name(query, 'y')})"]


def _scatter(query: Query) -> list[str]:
    colour, after = "", list[str]()
    if query.asked.get("c"):
        column = query.column("c")
        values = f"data[{_data_name(query, column)}]"
        if not column.is_number:
            values = f'{values}.astype("category").cat.codes'
        colour, after = f", c={values}", [f"plt.colorbar(label={json.dumps(column.name)})"]
    drawn = f"plt.scatter(data[{_name(query, 'x')}], data[{_name(query, 'y')}], s=6{colour})"
    return [drawn, *after, *_scales(query), *_labels(query)]


def _lines(query: Query) -> list[str]:
    x, y = _name(query, "x"), _name(query, "y")
    draw = [
        f"several = group.groupby({x})[{y}]",
        "mean, spread = several.mean(), several.std().fillna(0)",
        "plt.plot(mean.index, mean, label=name)",
        "plt.fill_between(mean.index, mean - spread, mean + spread, alpha=0.2)",
    ]
    by = f"data.groupby({_name(query, 'by')}, observed=True)" if query.asked.get("by") else '[("", data)]'
    legend = ["plt.legend()"] if query.asked.get("by") else []
    return [f"for name, group in {by}:", *(f"    {line}" for line in draw), *legend, *_scales(query), *_labels(query)]


def _grid(query: Query) -> list[str]:
    how = query.asked.get("how", "mean")
    x, y, z = (_name(query, one) for one in ("x", "y", "z"))
    return [
        f"cells = data.pivot_table(index={y}, columns={x}, values={z}, aggfunc={json.dumps(how)}, observed=True)",
        "plt.pcolormesh(range(len(cells.columns) + 1), range(len(cells.index) + 1), cells)",
        "plt.xticks([i + 0.5 for i in range(len(cells.columns))], cells.columns, rotation=90)",
        "plt.yticks([i + 0.5 for i in range(len(cells.index))], cells.index)",
        f"plt.colorbar(label={z})",
        *_labels(query),
    ]


def _parallel(query: Query) -> list[str]:
    names = [one for one in query.asked.get("columns", "").split(",") if one]
    if len(names) < 2:
        raise ParameterError("choose 2 or more columns for parallel coordinates")
    query.asked |= {f"axis{i}": name for i, name in enumerate(names)}
    chosen = ", ".join(_name(query, f"axis{i}") for i in range(len(names)))
    return [
        f"chosen = data[[{chosen}]]",
        'chosen = chosen.apply(lambda one: one if one.dtype.kind in "biuf" else one.astype("category").cat.codes)',
        "placed = (chosen - chosen.min()) / (chosen.max() - chosen.min())",
        "plt.plot(placed.T.values, alpha=0.3)",
        "plt.xticks(range(len(chosen.columns)), chosen.columns)",
    ]


_DRAWN = {"scatter": _scatter, "lines": _lines, "heatmap": _grid, "parallel": _parallel}
