"""The supply chain: licences, known advisories, SBOM and secrets of what storelake is made of."""
