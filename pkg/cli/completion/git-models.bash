# Completion of `git models …` and `git-models …` for bash.
# Git's own completion calls _git_models for the former.

__git_models_reply() {
	local word
	COMPREPLY=()
	while IFS= read -r word; do
		COMPREPLY+=("$word")
	done < <(git-models "$@" --generate-completion 2>/dev/null)
}

_git_models() {
	local line=() i
	for ((i = 1; i <= COMP_CWORD; i++)); do
		if [[ ${#line[@]} -gt 0 ]]; then
			line+=("${COMP_WORDS[i]}")
		elif [[ ${COMP_WORDS[i]} == models ]]; then
			line=(git-models)
		fi
	done
	__git_models_reply "${line[@]:1}"
}

_git_models_alone() {
	__git_models_reply "${COMP_WORDS[@]:1:COMP_CWORD}"
}

complete -o default -F _git_models_alone git-models
