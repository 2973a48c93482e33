"""Telling somebody: the sentence of each notice, the form that its receiver takes, and the sending."""
