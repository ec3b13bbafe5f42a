//! Reads the community catalogues (LiteLLM's map, genai-prices).
