"""Exported files: PNG, JPEG, WebP and GIF images with Pillow, scripts, and CSV tables.

It may import `core.runs` and what is below it, so that the UI can use it.
"""
