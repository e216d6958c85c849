# Completion of `git models …` and `git-models …` for fish.

function __git_models_complete
    set -l line (commandline -opc)
    set -e line[1]
    if test (count $line) -gt 0; and test "$line[1]" = models
        set -e line[1]
    end
    git-models $line (commandline -ct) --generate-completion 2>/dev/null
end

complete -c git-models -f -a '(__git_models_complete)'
complete -c git -n 'string match -q -- "git models *" (commandline -pc)' -f -a '(__git_models_complete)'
