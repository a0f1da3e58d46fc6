"""Settings of Sphinx, which makes the site. Nothing on a page is fetched from another machine."""

project = "Tallygate"
author = "The Tallygate authors"
root_doc = "docs/README"
extensions = ["myst_parser"]
myst_heading_anchors = 4
highlight_language = "none"
smartquotes = False
html_title = project
html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": project},
    "navbar_align": "left",
    "search_as_you_type": True,
    "search_bar_text": "Search",
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_context = {"default_mode": "auto"}
html_copy_source = False
html_use_index = False
