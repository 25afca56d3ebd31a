"""Models that leave the studio: the torch part of `studio.exports`, and what goes along with the weights."""
