"""Which encoder, layer and metric finds the right neighbours in this shop: by the catalogue's labels, and by people.

measures (figures of neighbour lists), calibration (of probabilities), compare (encoders x metrics of arrays) <- spark
(the sample and its embeddings) <- evaluate (all of it); rating_sheet (the page that people fill in), ratings (what they
filled in); files (Markdown, HTML, JSON).
"""
