"""The page of a product in the shop."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from vsspark.query.products import Facts

_NAMES = ("link", "url", "product_url", "product_link")  # columns that name a product's page, of Merchant and others


def product_link(template: str | None, facts: Facts) -> str | None:
    """The address, http or https; None where the catalogue does not say.

    template: an address with columns in braces, {product_id} or a further column of the catalogue, each percent-encoded
    as it is put in; None: the catalogue's column link, url, product_url or product_link, whatever its case.
    """
    if template is None:
        columns = {name.lower(): value for name, value in facts.attributes.items()}
        link = next((columns[name] for name in _NAMES if columns.get(name)), None)
    else:
        values = {**facts.attributes, "product_id": facts.product_id}
        link = template
        for name in template_columns(template):
            if not values.get(name):
                return None
            link = link.replace(f"{{{name}}}", quote(values[name], safe=""))
    return link if link is not None and _is_address(link) else None


def template_columns(template: str) -> list[str]:
    """The names in braces."""
    return [part.partition("}")[0] for part in template.split("{")[1:]]


def _is_address(link: str) -> bool:
    """Whether a browser may follow it: javascript: and its like are no links."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
