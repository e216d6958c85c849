# Completion of `git models …` and `git-models …` for bash.
# Git's own completion calls _git_models for the former.

# The arguments are what follows in the place of a whole word, and the words so far.
__git_models_reply() {
	local after=$1 word typed=${!#} cut=
	shift
	# Bash replaces what stands behind a = alone, where = ends a word.
	[[ $typed == *=* && $COMP_WORDBREAKS == *=* ]] && cut=${typed%%=*}=
	COMPREPLY=()
	while IFS= read -r word; do
		[[ $word == *[=/] ]] || word+=$after
		COMPREPLY+=("${word#"$cut"}")
	done < <(git-models "$@" --generate-completion 2>/dev/null)
}

# Words that bash took apart at = come together again.
__git_models_words() {
	local i
	line=()
	for ((i = 1; i <= COMP_CWORD; i++)); do
		if [[ ${#line[@]} -gt 0 && (${COMP_WORDS[i]} == = || ${COMP_WORDS[i - 1]} == =) ]]; then
			line[${#line[@]} - 1]+=${COMP_WORDS[i]}
		else
			line+=("${COMP_WORDS[i]}")
		fi
	done
}

_git_models() {
	local line
	__git_models_words
	while [[ ${#line[@]} -gt 1 && ${line[0]} != models ]]; do
		line=("${line[@]:1}")
	done
	# Git's completion is asked for with -o nospace.
	__git_models_reply " " "${line[@]:1}"
}

_git_models_alone() {
	local line
	__git_models_words
	__git_models_reply "" "${line[@]}"
}

complete -o default -F _git_models_alone git-models
