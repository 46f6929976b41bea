"""What a screening run leaves behind: tables, JSON and a page, all renderings of one `run.Run`.

`run` has the types, `write.write_site` the files; nothing in here decides.
"""
