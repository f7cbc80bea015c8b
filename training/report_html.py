"""The report of a validation as one HTML file that needs nothing else: it can be sent by mail or kept."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from protos.inference.v1.manifest_pb2 import FeatureType
from training.contracts.contract import ContractReport
from training.data.columns import listed

__all__ = ["contract_html"]

_TEMPLATE: Final = "report.html.j2"

_TYPES: Final = {
    FeatureType.FEATURE_TYPE_FLOAT: "number",
    FeatureType.FEATURE_TYPE_INTEGER: "whole number",
    FeatureType.FEATURE_TYPE_CATEGORY: "category",
}
#: Categories are listed so far.
_LISTED_CATEGORIES: Final = 12


def contract_html(report: ContractReport, *, output: str | None) -> bytes:
    """Return the page; `output` is where the table was written."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template(_TEMPLATE).render(
        report=report,
        columns=_columns(report),
        output=output,
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    return page.encode()


def _columns(report: ContractReport) -> list[dict[str, str]]:
    """Describe each feature of a valid table."""
    if report.table is None:
        return []
    drift = dict(report.drift)
    described = []
    for column in report.table.columns:
        values = report.table.frame[column.name]
        if column.is_category:
            holds = listed(column.categories, _LISTED_CATEGORIES)
        else:
            holds = f"{values.min():g} to {values.max():g}" if values.notna().any() else "nothing"
        described.append(
            {
                "name": column.name,
                "type": _TYPES[column.type],
                "missing": str(int(values.isna().sum())) if column.nullable else "none allowed",
                "holds": holds,
                "drift": f"{drift[column.name]:.3f}" if column.name in drift else "",
            }
        )
    return described
