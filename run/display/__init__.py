"""Display: the live view, videos, tables."""
