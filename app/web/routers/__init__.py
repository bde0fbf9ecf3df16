"""The pages and answers, a module for each subject."""
