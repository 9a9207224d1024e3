"""Recipes: chains of training stages that remake weights."""
