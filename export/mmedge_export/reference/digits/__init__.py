"""A fusion task on real data: handwritten digits as the camera, spoken digits as the microphone, one label.

The pictures ship inside scikit-learn; the recordings are the Free Spoken Digit Dataset, whose archive is given.
"""
