"""`python -m analysis.diagnose DIR`: see `analysis.figures.diagnostics`."""

from analysis.figures.diagnostics import main

if __name__ == "__main__":
    main()
