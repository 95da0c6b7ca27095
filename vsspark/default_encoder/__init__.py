"""Fits the encoder that ships with the package; nothing here runs in a shop's job: views of photos -> a teacher's features for them -> a small network
that learns to give the same.

`config` is the section of settings, `views` cuts and relights photos, `sources` lists the photos, `teacher` runs the
teacher network, `pool` keeps views and targets on disk, `targets` says what the student shall learn, `fit` trains it,
`measure` judges it.
"""
