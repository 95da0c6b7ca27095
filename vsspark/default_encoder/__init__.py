"""The encoder that ships with the package, distilled; nothing here runs in a shop's job. Views of photos -> a teacher's
features for them -> a small network, the student, that learns to give the same.

`config` is the section of settings, `sources` lists the photos, `teacher` runs the teacher network, `pool` keeps views
(`vsspark.training.views`) and targets on disk, `targets` says what the student shall learn, `student` trains it,
`distil` is the whole way, `job` its command line.
"""
