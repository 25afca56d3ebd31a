"""How the studio looks: one set of tokens; stylesheet, Gradio theme and Plotly template are made from it."""
