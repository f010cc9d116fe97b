// prefill
