"""Visual-similarity recommendations: a catalogue's images in, product -> similar products out.

The rooms, in the order the data walks through them: catalogue -> images -> encoders -> embed -> blocks -> knn ->
recommend -> report. docs/architecture.md has the picture.
"""

__version__ = "0.2.0"
