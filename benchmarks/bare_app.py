"""What a bare Gradio app of 200 components costs to start: the yardstick of benchmarks/startup.py.

python -m benchmarks.bare_app PORT
"""

from __future__ import annotations

import os
import sys

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr

COMPONENTS = 200


def build() -> gr.Blocks:
    """A button, the box it fills, and 198 others of the usual kinds, on ten tabs."""
    kinds = (gr.Textbox, gr.Slider, gr.Checkbox, gr.Number, gr.Dropdown, gr.Markdown)
    with gr.Blocks() as app:
        button, box = gr.Button("Go", elem_id="go"), gr.Textbox(elem_id="said")
        for tab in range(10):
            with gr.Tab(f"Tab {tab}"):
                for number in range(tab, COMPONENTS - 2, 10):
                    kinds[number % len(kinds)](label=f"Component {number}")
        button.click(lambda: "changed", outputs=box)
    return app


if __name__ == "__main__":
    build().launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True, inbrowser=False)
