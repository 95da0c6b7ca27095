"""Image neighbours -> product lists, filled and judged: what the storefront will show, and whether it may."""
