// Package story holds the stories of a push: scripts that a git user can read,
// each with real repositories, real pushes (by path, ssh and HTTP) and the real
// programs. It has tests only and nothing may import it.
//
// A story lies under testdata as NAME.txt. Beside testscript's own words it
// knows:
//
//	project DIR [SERVER]   a small training repository in DIR, one commit on main,
//	                       with SERVER as its remote origin; after containers also a
//	                       Dockerfile on BASE, in a second commit
//	commits N              N more commits in the current folder
//	hint [REGEXP]          runs the command of the (matching) hint line that the
//	                       last command printed, with sh -c in the current folder
//	until SECONDS exec CMD…  repeats CMD until it succeeds
//	sshd ROOT              serves the repositories below ROOT over ssh to alice;
//	                       sets SSH to the URL's beginning
//	sshshell ROOT          the same by a key that opens a shell, and sftp
//	httpd ROOT             serves them over smart HTTP to alice:s3cret; sets HTTP
//	as UID CMD…            runs CMD as another user (root only)
//	kill9 PATTERN          SIGKILL to this story's processes whose command line
//	                       contains PATTERN; fails when there is none
//	json KEY WANT          the last output is one JSON object, or an array of one:
//	                       KEY (dots go deeper) is WANT
//	years N SERVER BRANCH  N runs of the past in a server's branch, a commit a day,
//	                       with what their outcomes left: notes, curves, tags, best
//	current SERVER [notags]  the tracked branches, the notes and the tags of the
//	                       clone in the current folder are those of SERVER, no more
//	                       and no fewer
//	load PUSHES SERVER…    as many pushes at once from the clone in the current
//	                       folder, in turn to the servers, each of a commit and to
//	                       a branch below models/ of its own
//	once SERVER…           every commit that load pushed there has one record, one
//	                       run that succeeded, one job (it leaves
//	                       $WORK/started/REPOSITORY.COMMIT.PID) and one note, and no other has
//
//	containers             makes the engine container the story's own, with docker,
//	                       an empty registry REGISTRY (host:port) and a base
//	                       image BASE
//	registry down|up       the registry is gone, or back on its port
//	registry fail N        it answers everything with the HTTP status N; 0: no more
//	registry full N        the same for what would change it
//	registry ask PASSWORD  it wants the password from now on
//	registry took REGEXP N  of its requests since the last such line, or registry
//	                       forget, as METHOD and path, N match
//
// and the conditions [docker] (one can be started here), [root], [bwrap], [mounts], [sshd], [python3]; [mounts] is that
// an `unshare -m` may mount.
package story
