"""Image neighbours merged into product -> similar products."""
