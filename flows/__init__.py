"""Recipes, stages and the flow that runs them; the only package that knows Prefect."""
