"""From a URI to pixels: `fetch` reads the bytes, `decode` turns them into RGB as a viewer shows it."""
