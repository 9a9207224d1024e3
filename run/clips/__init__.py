"""Clips: who does what while it is filmed, what is asked, and the page for labels."""
