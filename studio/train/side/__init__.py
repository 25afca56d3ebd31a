"""Side-tuning: a narrow ladder network that reads a frozen model layer by layer.

`shape` holds its sizes and needs no torch; `blocks` its layers; `network` the ladder; `hooks` puts it beside
a model; `tuner` is the method.
"""
