"""The comparison as files: Markdown for a document, one HTML page for people, JSON for machines."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from vsspark.config import EvaluationConfig
from vsspark.errors import StorageError
from vsspark.evaluation.compare import Row
from vsspark.evaluation.measures import Figure
from vsspark.evaluation.results import EncoderLine, Results

_NAMED_IN_MARKDOWN = 20  # unusable images; the page and the JSON name all


def output_folder(config: EvaluationConfig, run_id: str) -> Path:
    """evaluation.path/RUN_ID, made. Raises StorageError when it cannot be: tried before the work, not after it."""
    folder = Path(config.path) / run_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"evaluation.path={config.path} cannot be written: {error}") from None
    return folder


def write_results(results: Results, folder: Path) -> list[Path]:
    """evaluation.md, evaluation.html and evaluation.json below the folder."""
    content = {
        "run_id": results.run_id,
        "catalogue": results.table,
        "settings": results.settings.model_dump(mode="json"),
        "metrics": results.metrics(),
        "table": results.as_table(),
        "unusable": [vars(image) for image in results.unusable],
    }
    texts = {
        "evaluation.md": to_markdown(results),
        "evaluation.html": to_html(results),
        "evaluation.json": json.dumps(content, indent=1),
    }
    return write_texts(folder, texts)


def write_texts(folder: Path, texts: dict[str, str]) -> list[Path]:
    """The paths of the files. Raises StorageError naming the one that cannot be."""
    paths = []
    for name, text in texts.items():
        try:
            (folder / name).write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise StorageError(f"evaluation.path: {folder / name} cannot be written: {error}") from None
        paths.append(folder / name)
    return paths


def to_markdown(results: Results) -> str:
    """Both tables with what is needed to read them; a pipe in a name is escaped."""
    lines = [f"Evaluation {results.run_id}: {_scope(results)}.", ""]
    lines += _markdown_table(*_main_table(results))
    lines += [
        "",
        "Shares with their 95 % bootstrap interval over queries; "
        "`random`: neighbours drawn from the images that are allowed, in expectation.",
        "",
    ]
    lines += _markdown_table(*_encoder_table(results))
    for image in results.unusable[:_NAMED_IN_MARKDOWN]:
        lines += ["", f"* {image.reason}: `{image.uri}` {image.detail}"]
    if len(results.unusable) > _NAMED_IN_MARKDOWN:
        lines += ["", f"* and {len(results.unusable) - _NAMED_IN_MARKDOWN} more, all in evaluation.json"]
    return "\n".join(lines) + "\n"


def to_html(results: Results) -> str:
    """One self-contained page: no script, nothing fetched; every name escaped."""
    return render_page(
        "evaluation.html.j2",
        results=results,
        scope=_scope(results),
        tables=[_main_table(results), _encoder_table(results)],
    )


def render_page(template: str, **values) -> str:
    """A template of this room, filled in, escaping on; an unknown name in it is an error."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = importlib.resources.files("vsspark.evaluation").joinpath(template).read_text(encoding="utf-8")
    return environment.from_string(source).render(**values)


def _scope(results: Results) -> str:
    quarantine = f", {len(results.unusable):,} quarantined" if results.unusable else ""
    return f"{results.queries:,} queries search {results.usable:,} images sampled from {results.table}{quarantine}"


def _main_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """(headings, rows of cells)."""
    columns = results.columns()
    k = results.settings.k
    rows = [
        [
            row.model,
            *(_figure(row.figures.get(name)) for name in columns),
            *_hub(row),
            "" if row.seconds is None else f"{row.seconds:.1f}",
        ]
        for row in results.rows
    ]
    return ["model", *columns.values(), f"largest {k}-occurrence", "skewness", "search s"], rows


def _encoder_table(results: Results) -> tuple[list[str], list[list[str]]]:
    headings = ["encoder", "version", "numbers", "unit norm", "embedding s", "head top-1", "calibration error"]
    return headings, [[*_encoder(line), *_head(line)] for line in results.encoders]


def _encoder(line: EncoderLine) -> Iterator[str]:
    yield from (line.title, line.model_version, str(line.dim), "yes" if line.unit_norm else "no", f"{line.seconds:.1f}")


def _head(line: EncoderLine) -> Iterator[str]:
    if line.head is None:
        # One fitted on the labels it is then judged by would look better than it is: only a head that came with the
        # encoder is judged.
        yield from ("knows none of these categories" if line.has_head else "no head of its own", "")
    else:
        yield from (
            f"{_figure(line.head.top1)} on {line.head.top1.count:,} images",
            _share(line.head.calibration_error),
        )


def _hub(row: Row) -> Iterator[str]:
    yield from ("", "") if row.hub is None else (str(row.hub), f"{row.hub_skewness:.1f}")


def _figure(figure: Figure | None) -> str:
    return "" if figure is None else f"{_share(figure.value)} [{_share(figure.low)}, {_share(figure.high)}]"


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"


def _markdown_table(headings: list[str], rows: list[list[str]]) -> list[str]:
    cells = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in cells]
