"""A road, seen and heard: everything is a function of time, so that a window is a cut of a longer drive."""
