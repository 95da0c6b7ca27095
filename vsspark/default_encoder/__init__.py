"""The encoder that ships with the package, fitted; nothing here runs in a shop's job. Views of photos -> a teacher's
features for them -> a small network that learns to give the same.

`config` is the section of settings, `sources` lists the photos, `teacher` runs the teacher network, `pool` keeps views
(`vsspark.training.views`) and targets on disk, `targets` says what the student shall learn, `fit` trains it,
`vsspark.evaluation` judges it.
"""
