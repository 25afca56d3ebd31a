"""How the studio looks: one set of tokens, and the stylesheet, the Gradio theme and the Plotly template made from it."""
