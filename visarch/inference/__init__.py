"""What finished models are used for, as functions of a model: what the verbs and the web share."""
