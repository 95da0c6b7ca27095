"""Encoders fitted to a shop's own catalogue: a backbone, an embedding head, and a category head computed from the
embedding.

The way of the data: `spark` writes the catalogue's decoded pictures as a Petastorm dataset; `reader` feeds their
`views` to tf.data; `features` runs the frozen backbone over a few views of each, once; `networks` and `start` make the
heads, `fit` trains them on `pairs`; `register` hands the result to MLflow. The trainer of the encoder that ships with
the package is another one, in `vsspark.default_encoder`.
"""
