"""Line icons, 20 by 20, drawn with the colour of the text around them."""

from __future__ import annotations

from markupsafe import Markup

_PATHS = {
    "home": '<path d="M3.5 9 10 3.5 16.5 9v7a.8.8 0 0 1-.8.8h-3.9v-4.6H8.2v4.6H4.3a.8.8 0 0 1-.8-.8z"/>',
    "train": '<path d="M4 5.5h7M15 5.5h1M4 10h1.5M9.500 10H16M4 14.500h6M14 14.500h2"/>'
    '<circle cx="13" cy="5.500" r="1.700"/><circle cx="7.500" cy="10" r="1.700"/>'
    '<circle cx="12" cy="14.500" r="1.700"/>',
    "runs": '<path d="M3.500 3.500v13h13"/><path d="M6.500 7c1.200 4 3 5.500 9.500 6"/>',
    "playground": '<path d="M4.300 4h11.400c.500 0 .8.400.8.800v7.900c0 .400-.3.800-.8.800H9.200L5.700 16.500v-3H4.300'
    'a.8.8 0 0 1-.8-.8V4.800c0-.400.3-.8.800-.8z"/>',
    "system": '<rect x="5.500" y="5.500" width="9" height="9" rx="1.500"/><path d="M8 3v2.500M12 3v2.500M8 14.500V17'
    'M12 14.500V17M3 8h2.500M3 12h2.500M14.500 8H17M14.500 12H17"/>',
    "style": '<path d="M4 15.800c2.600.4 3.800-.6 4-2.400M8.300 12.800 15.900 4.300c.7-.8-.3-1.800-1.100-1.100L6.600 11.100'
    'c1 .2 1.500.7 1.700 1.700z"/>',
    "facts": '<path d="M10 5.300C8.600 4.200 6.600 3.800 3.500 4v11c3.100-.2 5.100.2 6.500 1.300 1.400-1.100 3.400-1.500 6.500-1.300V4'
    'C13.400 3.800 11.400 4.200 10 5.300zM10 5.300v11"/>',
    "format": '<path d="M7.500 3.800C5.400 3.800 6.300 8 6 9c-.2.600-.8 1-1.700 1 .9 0 1.500.4 1.700 1 .3 1-.6 5.200 1.500 5.200'
    'M12.500 3.800c2.100 0 1.200 4.200 1.500 5.200.2.600.8 1 1.700 1-.9 0-1.500.4-1.700 1-.3 1 .6 5.200-1.500 5.200"/>',
    "done": '<path d="m4.500 10.500 3.500 3.500 7.500-8"/>',
    "wait": '<circle cx="10" cy="10" r="6.300"/><path d="M10 6.500V10l2.300 1.600"/>',
    "bad": '<path d="M10 3.600 17 16H3z"/><path d="M10 8.200v3.600M10 13.900v.1"/>',
    "pause": '<path d="M7.500 5v10M12.500 5v10"/>',
    "stop": '<rect x="5.500" y="5.500" width="9" height="9" rx="1.500"/>',
    "play": '<path d="M6.500 4.500v11l9-5.500z"/>',
    "trash": '<path d="M4 6h12M8 6V4h4v2M5.500 6l.7 10h7.600l.7-10"/>',
    "copy": '<rect x="7" y="7" width="9" height="9" rx="1.500"/><path d="M13 7V5.500C13 4.700 12.300 4 11.500 4h-6'
    'C4.700 4 4 4.700 4 5.500v6c0 .8.700 1.500 1.500 1.500H7"/>',
    "upload": '<path d="M10 13V4.500M6.500 7.500 10 4l3.500 3.500M4 13v2.500c0 .500.400 1 1 1h10c.600 0 1-.500 1-1V13"/>',
    "send": '<path d="M10 16V4.500M5 9l5-5 5 5"/>',
    "sun": '<circle cx="10" cy="10" r="3.300"/><path d="M10 2.500v2M10 15.500v2M2.500 10h2M15.500 10h2M4.700 4.700l1.400 1.400'
    'M13.900 13.900l1.400 1.400M15.300 4.700l-1.400 1.400M6.100 13.900l-1.400 1.400"/>',
    "next": '<path d="m8 5 5 5-5 5"/>',
    "back": '<path d="m12 5-5 5 5 5"/>',
    "chip": '<path d="M4 7.500h12v5H4zM7 7.500v5M10 7.500v5M13 7.500v5"/>',
    "plus": '<path d="M10 4.500v11M4.500 10h11"/>',
    "close": '<path d="m5.500 5.500 9 9M14.500 5.500l-9 9"/>',
}


def icon(name: str, size: int = 20) -> Markup:
    """Hidden from screen readers: a word always stands beside it, or the button carries a label."""
    return Markup(
        f'<svg class="icon" viewBox="0 0 20 20" width="{size}" height="{size}" aria-hidden="true" fill="none" '
        f'stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round">{_PATHS[name]}</svg>'
    )


def mark(size: int = 26) -> Markup:
    """The studio's mark: a flat curve (base) bent into another (tuned)."""
    return Markup(
        f'<svg viewBox="0 0 28 28" width="{size}" height="{size}" aria-hidden="true">'
        '<rect width="28" height="28" rx="8" fill="var(--accent-fill)"/>'
        '<path d="M6 18.500h16" stroke="#fff" stroke-opacity=".45" stroke-width="2.200" stroke-linecap="round"/>'
        '<path d="M6 18.500c5 0 5.500-10 9-10s2.500 5 7 5" stroke="#fff" stroke-width="2.200" fill="none" '
        'stroke-linecap="round"/></svg>'
    )
