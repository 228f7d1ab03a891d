"""What people look at: tables, pages, sheets, colours, progress."""
