"""Files that users ask for: PNG, JPEG, WebP and GIF pictures, scripts, and CSV tables.

Pillow draws the pictures. It may import `core.runs` and what is below it, so that the UI can use it.
"""
