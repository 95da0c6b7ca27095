"""The notebook, executed against real Delta tables and drawn pictures."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pyarrow as pa
import pytest
from nbclient import NotebookClient
from pyspark.sql.pandas.types import to_arrow_schema
from small_shop import COLOUR, RUN_ID, published_tables

from vsspark import schemas

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "explore_a_run.ipynb"


@pytest.fixture(scope="module", params=["delta", "parquet"])
def executed(request, tmp_path_factory):
    import pyarrow.parquet as pq
    from deltalake import write_deltalake

    folder = tmp_path_factory.mktemp(f"published-{request.param}")
    (folder / "pictures").mkdir()
    for name, rows in published_tables(folder / "pictures").items():
        schema = to_arrow_schema(getattr(schemas, name.upper()), timezone="UTC")
        table = pa.table(
            [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(schema)], schema=schema
        )
        if request.param == "delta":
            write_deltalake(str(folder / "out" / name), table)
        else:
            (folder / "out" / name).mkdir(parents=True)
            pq.write_table(table, folder / "out" / name / "part-0.parquet")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSSPARK_OUTPUT", str(folder / "out"))
        NotebookClient(
            notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        ).execute()
    return notebook


def printed(notebook):
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


def pictures(notebook):
    data = [
        output["data"]["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    return [
        cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)
        for png in data
    ]


def test_it_is_committed_without_outputs():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


def test_figures_are_those_of_the_run(executed):
    text = printed(executed)
    assert "19 pictures = 16 used + 3 set aside" in text
    assert "products without recommendations: 1 X1" in text
    facts = executed.cells[3].outputs[0]["data"]["text/plain"]
    assert RUN_ID in facts


def test_recommendations_coverage_and_quarantine_are_drawn(executed):
    drawn = pictures(executed)
    assert len(drawn) == 5  # one of each category, the worst, coverage, similarity, quarantine
    for rgb in COLOUR.values():  # the first figure shows a product of each category
        assert (np.abs(drawn[0] - rgb).max(axis=2) < 10).sum() > 1500
