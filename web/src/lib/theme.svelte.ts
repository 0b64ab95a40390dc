// Dark or light: what the system says, unless somebody chose. Canvases ask here for the colours of the style sheet.

export type Theme = 'system' | 'light' | 'dark';

const KEY = 'cgscope-theme';
const dark = matchMedia('(prefers-color-scheme: dark)');

function stored(): Theme {
  try {
    const text = localStorage.getItem(KEY);
    return text === 'light' || text === 'dark' ? text : 'system';
  } catch {
    return 'system';
  }
}

class ThemeChoice {
  chosen = $state<Theme>(stored());
  /** Counts changes: whoever draws by hand draws anew. */
  version = $state(0);
  #colours = new Map<string, string>();

  constructor() {
    this.#apply();
    dark.addEventListener('change', () => this.#apply());
  }

  get isDark(): boolean {
    return this.chosen === 'dark' || (this.chosen === 'system' && dark.matches);
  }

  toggle(): void {
    this.chosen = this.isDark ? 'light' : 'dark';
    try {
      localStorage.setItem(KEY, this.chosen);
    } catch {
      // Not kept then: a private window.
    }
    this.#apply();
  }

  /** A colour of the style sheet: `--accent`. */
  colour(variable: string): string {
    let colour = this.#colours.get(variable);
    if (colour === undefined) {
      colour = getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
      this.#colours.set(variable, colour);
    }
    return colour;
  }

  #apply(): void {
    document.documentElement.dataset['theme'] = this.isDark ? 'dark' : 'light';
    this.#colours.clear();
    this.version += 1;
  }
}

export const theme = new ThemeChoice();
