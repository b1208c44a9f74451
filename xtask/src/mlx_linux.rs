//! How does the unmodified `mlx-rs` crate come to MLX on Linux?
//!
//! Its `mlx-sys` crate builds MLX by cmake and on macOS only, but declares `links = "mlx"`, so a
//! cargo configuration may put a finished library in the place of its build script. This module
//! makes that library and that configuration, in `.mlx/`, which git ignores:
//!
//! | in `.mlx/` | what it is |
//! |---|---|
//! | `site/` | Apple's MLX and OpenBLAS, unpacked from their PyPI wheels, pinned by hash |
//! | `libexoblas.so` | MLX's three BLAS calls, answered by OpenBLAS (`assets/mlx/blas.cpp`) |
//! | `libmlxc.so` | the mlx-c sources that mlx-sys carries, compiled against that MLX, with operations that MLX does not have: products with matrices in bf16 (`assets/mlx/narrow.cpp`) and passes over rows (`passes.cpp`) |
//! | `bindings.rs` | what bindgen reads from mlx-c's headers |
//! | `config.toml` | `[target.<host>.mlx]`; the committed `.cargo/config.toml` includes it |
//! | `stamp` | everything that went in: if it is unchanged there is nothing to do |
//!
//! The whole folder is made under another name and renamed when it is complete, so an interrupted
//! run leaves nothing that looks finished.

use std::{
    cmp::Reverse,
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result};

use crate::{
    cargo::{host_triple, package_dir},
    layout::{Layout, make_dir, remove, replace_dir, write},
    lock::Lock,
    pip, prerequisites,
    progress::{say, step},
    shell::{common_hint, failure, output, run_quietly},
};

const REQUIREMENTS: &str = include_str!("../assets/mlx/requirements.txt");
const LIBCLANG: &str = include_str!("../assets/mlx/libclang.txt");
/// A source of our own, by its name.
macro_rules! source {
    ($name:literal) => {
        ($name, include_str!(concat!("../assets/mlx/", $name)))
    };
}

/// All that is compiled beside mlx-c, or included there.
const SOURCES: [(&str, &str); 10] = [
    source!("blas.cpp"),
    source!("few_rows.hpp"),
    source!("transposed.hpp"),
    source!("summed.hpp"),
    source!("vectors.hpp"),
    source!("narrow.cpp"),
    source!("operation.hpp"),
    source!("passes.cpp"),
    source!("mach.cpp"),
    source!("compat.hpp"),
];
const COMPAT_H: &str = include_str!("../assets/mlx/compat.h");
/// Counts the ways in which this file has put those together: raise it when the result changes.
const RECIPE: u32 = 1;

/// What there is to build, and where it ends up.
struct Plan {
    triple: String,
    /// The mlx-c sources inside the mlx-sys crate.
    mlx_c: PathBuf,
    /// The MLX version that those sources pin.
    version: String,
    /// Where the finished folder will stand.
    out: PathBuf,
    stamp: String,
}

/// Makes `.mlx/` unless it is already what it should be; does nothing on macOS.
pub(crate) fn ensure(layout: &Layout) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(()); // mlx-sys builds itself on macOS
    }
    let _lock = Lock::take(&layout.exo().join("setup.lock"), "MLX")?;
    let plan = Plan::new(layout)?;
    if plan.is_done() {
        say(&format!("MLX {} is ready in {}", plan.version, plan.out.display()));
        return Ok(());
    }
    prerequisites::check()?;
    let new = plan.out.with_extension("new");
    remove(&new)?;
    let built = plan.build(&new);
    if let Err(error) = built {
        let _ = remove(&new); // the reason why it failed matters more than what is left
        let hint = common_hint(&format!("{error:#}"));
        return Err(match hint {
            Some(hint) => failure(format!("{error:#}"), hint),
            None => error,
        });
    }
    replace_dir(&new, &plan.out)?;
    say(&format!("MLX {} for {} is ready in {}", plan.version, plan.triple, plan.out.display()));
    Ok(())
}

/// The library that gives another program's MLX the same BLAS: `LD_PRELOAD` it.
pub(crate) fn blas_library(layout: &Layout) -> PathBuf {
    layout.mlx().join("libexoblas.so")
}

impl Plan {
    fn new(layout: &Layout) -> Result<Self> {
        let mlx_c = package_dir(layout, "mlx-sys")?.join("src/mlx-c");
        let cmake = mlx_c.join("CMakeLists.txt");
        let cmake = fs::read_to_string(&cmake).with_context(|| cmake.display().to_string())?;
        let version = pinned_mlx(&cmake).context("mlx-c's CMakeLists.txt pins no MLX version")?;
        if !REQUIREMENTS.contains(&format!("mlx-cpu=={version} ")) {
            return Err(failure(
                format!("mlx-sys wants MLX {version}, xtask's requirements name another"),
                "bring xtask/assets/mlx/requirements.txt to that version and its hashes",
            ));
        }
        let (triple, out) = (host_triple()?, layout.mlx());
        let cxx = env::var("CXX").unwrap_or_default();
        let mut stamp =
            format!("recipe {RECIPE} {triple} {} {} {cxx}\n", out.display(), mlx_c.display());
        let sources = SOURCES.map(|(_, text)| text);
        for part in [REQUIREMENTS, LIBCLANG, COMPAT_H].into_iter().chain(sources) {
            stamp.push_str(part);
        }
        Ok(Self { triple, mlx_c, version, out, stamp })
    }

    fn is_done(&self) -> bool {
        fs::read_to_string(self.out.join("stamp")).is_ok_and(|stamp| stamp == self.stamp)
    }

    fn build(&self, new: &Path) -> Result<()> {
        let (site, work) = (new.join("site"), new.join("work"));
        step(&format!("fetching Apple's MLX {} and OpenBLAS (26 MB)", self.version), || {
            write(&work.join("requirements.txt"), REQUIREMENTS)?;
            pip::unpack(&work.join("requirements.txt"), &site)
        })?;
        step("fetching libclang (24 MB)", || {
            write(&work.join("libclang.txt"), LIBCLANG)?;
            pip::unpack(&work.join("libclang.txt"), &work.join("libclang"))
        })?;
        step("compiling mlx-c", || self.compile(new, &site, &work))?;
        step("generating Rust bindings", || self.bind(new, &work))?;
        write(&new.join("config.toml"), self.cargo_config())?;
        remove(&work)?;
        write(&new.join("stamp"), &self.stamp)
    }

    /// Compiles and links libexoblas.so and libmlxc.so.
    fn compile(&self, new: &Path, site: &Path, work: &Path) -> Result<()> {
        for (name, text) in SOURCES {
            write(&work.join(name), text)?;
        }
        let compiler = self.compiler(work)?;
        let mut sources = files_with_extension(&self.mlx_c.join("mlx/c"), "cpp")?;
        sources.extend(["mach.cpp", "narrow.cpp", "passes.cpp"].map(|name| work.join(name)));
        let sources = bundle(&sources, work)?;
        let include = [site.join("mlx/include"), self.mlx_c.clone()];
        let objects = compile_all(&sources, &work.join("objects"), || {
            let mut command = compiler.to_command();
            command.arg("-include").arg(work.join("compat.hpp"));
            command.args(include.iter().map(|dir| format!("-I{}", dir.display())));
            command
        })?;
        let blas =
            compile_all(&[work.join("blas.cpp")], &work.join("objects"), || compiler.to_command())?;

        // Each soname is the absolute path where the library will stand: programs linked to it
        // find it with neither an rpath of their own nor LD_LIBRARY_PATH.
        let link = |name: &str| {
            let mut command = compiler.to_command();
            command.args(["-shared", "-Wl,--no-undefined", "-Wl,--allow-shlib-undefined"]);
            command.arg(format!("-Wl,-soname,{}", self.out.join(name).display()));
            command.arg("-o").arg(new.join(name));
            command
        };
        let mut command = link("libexoblas.so");
        command.args(blas).arg("-L").arg(site.join("scipy_openblas32/lib"));
        command.args(["-lscipy_openblas", "-Wl,-rpath,$ORIGIN/site/scipy_openblas32/lib"]);
        run_quietly(&mut command)?;

        let mut command = link("libmlxc.so");
        // libexoblas before libmlx, wanted or not: the first definition of a symbol wins.
        command.args(objects).arg("-Wl,--no-as-needed").arg(new.join("libexoblas.so"));
        command.arg("-L").arg(site.join("mlx/lib")).arg("-lmlx");
        command.arg("-Wl,-rpath,$ORIGIN/site/mlx/lib");
        run_quietly(&mut command)
    }

    fn compiler(&self, work: &Path) -> Result<cc::Tool> {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++20").pic(true).opt_level(2).debug(false).warnings(false);
        build.host(&self.triple).target(&self.triple).out_dir(work).define("NDEBUG", None);
        build.cargo_metadata(false).cargo_warnings(false);
        build.try_get_compiler().context("no C++ compiler")
    }

    /// Runs this program again for bindgen: libclang's place is told by an environment variable,
    /// and a process may only set those of its children safely.
    fn bind(&self, new: &Path, work: &Path) -> Result<()> {
        write(&work.join("compat.h"), COMPAT_H)?;
        let mut child = Command::new(env::current_exe().context("where this program lies")?);
        child.env("LIBCLANG_PATH", work.join("libclang/clang/native"));
        child.arg("bindgen").arg(&self.mlx_c).arg(work.join("compat.h"));
        run_quietly(child.arg(new.join("bindings.rs")))
    }

    fn cargo_config(&self) -> String {
        let (out, mlx_c) = (self.out.display(), self.mlx_c.display());
        let (triple, version) = (&self.triple, &self.version);
        let mut hasher = DefaultHasher::new();
        self.stamp.hash(&mut hasher);
        let stamp = hasher.finish(); // cargo builds mlx-sys anew when it changes
        format!(
            r#"# Written by `cargo xtask setup`: stands in for the build script of mlx-sys.
[target.{triple}.mlx]
rustc-link-search = ["native={out}"]
rustc-link-lib = ["dylib=mlxc"]
rustc-env = {{ OUT_DIR = "{out}" }}
include = "{out}/site/mlx/include:{mlx_c}"
version = "{version}"
stamp = "{stamp:016x}"
"#
        )
    }
}

/// The child's half of [`Plan::bind`]: the bindings that mlx-sys's own build script would make,
/// with the 16-bit types supplied.
pub(crate) fn write_bindings(mlx_c: &Path, compat: &Path, out: &Path) -> Result<()> {
    // PyPI's libclang comes without the compiler's own headers (stddef.h and such).
    let include = output(Command::new("cc").arg("-print-file-name=include"))?;
    let builder = bindgen::Builder::default()
        .rust_target("1.73.0".parse().map_err(|error| anyhow::anyhow!("{error}"))?)
        .formatter(bindgen::Formatter::None)
        .clang_args([format!("-I{}", mlx_c.display()), format!("-I{}", include.trim())])
        .clang_args(["-include".to_owned(), compat.display().to_string()])
        .blocklist_function("malloc")
        .blocklist_function("realloc")
        .blocklist_type("float16_t")
        .raw_line("#[repr(transparent)] #[derive(Clone, Copy, Debug, Default, PartialEq)]")
        .raw_line("pub struct float16_t(pub u16);");
    let headers = files_with_extension(&mlx_c.join("mlx/c"), "h")?;
    let builder = headers
        .iter()
        .fold(builder, |builder, header| builder.header(header.display().to_string()));
    let bindings = builder.generate().context("bindgen could not read mlx-c's headers")?;
    bindings.write_to_file(out).with_context(|| out.display().to_string())
}

/// `GIT_TAG v0.32.2)` → `0.32.2`.
fn pinned_mlx(cmake: &str) -> Option<String> {
    let tag = cmake.lines().find_map(|line| line.trim().strip_prefix("GIT_TAG v"))?;
    Some(tag.trim_end_matches(')').trim().to_owned())
}

fn files_with_extension(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut paths: Vec<_> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    Ok(paths)
}

/// Compiles each source by a command that `compiler` begins, all at the same time, and returns the
/// object files in the order of the sources.
fn compile_all(
    sources: &[PathBuf],
    objects: &Path,
    compiler: impl Fn() -> Command + Sync,
) -> Result<Vec<PathBuf>> {
    make_dir(objects)?;
    let compile = |source: &PathBuf| -> Result<PathBuf> {
        let object = objects.join(source.file_stem().unwrap_or_default()).with_extension("o");
        run_quietly(compiler().arg("-c").arg(source).arg("-o").arg(&object))?;
        Ok(object)
    };
    thread::scope(|scope| {
        let compile = &compile;
        let started: Vec<_> =
            sources.iter().map(|source| scope.spawn(move || compile(source))).collect();
        let finished = started.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a compiling thread panicked")))
        });
        finished.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Sources that include `sources`, one for each core (four at most), about equally large together.
/// Nearly all the time goes into MLX's headers, which each of them now reads once: 16 s of
/// processor time instead of 70.
fn bundle(sources: &[PathBuf], work: &Path) -> Result<Vec<PathBuf>> {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(4);
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |meta| meta.len());
    let mut bundles = vec![(0, String::new()); cores];
    let mut sources: Vec<_> = sources.iter().collect();
    sources.sort_by_key(|path| Reverse(size(path)));
    for source in sources {
        let smallest = bundles.iter_mut().min_by_key(|(total, _)| *total).context("no cores")?;
        smallest.0 += size(source);
        smallest.1.push_str(&format!("#include \"{}\"\n", source.display()));
    }
    let write = |(i, (_, text))| {
        let path = work.join(format!("mlxc-{i}.cpp"));
        write(&path, text).map(|()| path)
    };
    bundles.into_iter().enumerate().map(write).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::Scratch;

    /// The forwarders against plain loops, in every layout, on the library that setup made.
    #[test]
    fn blas_forwarders_compute_what_the_reference_computes() {
        let layout = Layout::find().expect("a layout");
        let library = blas_library(&layout);
        if !library.exists() {
            eprintln!("skipped: needs {} (cargo xtask setup)", library.display());
            return;
        }
        let scratch = Scratch::new("blas");
        let source = scratch.0.join("blas_check.cpp");
        let program = scratch.0.join("blas_check");
        write(&source, include_str!("../assets/mlx/blas_check.cpp")).expect("a source");
        let mut compiler = Command::new("c++");
        compiler.arg("-std=c++20").arg("-o").arg(&program).arg(&source).arg(&library);
        run_quietly(&mut compiler).expect("it compiles");
        run_quietly(&mut Command::new(&program)).expect("they agree");
        let mut openblas = Command::new(&program);
        run_quietly(openblas.env("EXO_BLAS_KERNELS", "none")).expect("so does OpenBLAS alone");
    }

    #[test]
    fn the_mlx_version_is_read_from_mlx_c() {
        assert_eq!(pinned_mlx("  mlx\n    GIT_TAG v0.32.2)\n"), Some("0.32.2".into()));
        assert_eq!(pinned_mlx("FetchContent_Declare(\n"), None);
    }

    #[test]
    fn every_wheel_is_pinned_for_both_processors() {
        for requirements in [REQUIREMENTS, LIBCLANG] {
            let lines = requirements.lines().filter(|line| !line.starts_with('#'));
            let packages = lines.clone().filter(|line| line.contains("==")).count();
            let hashes = lines.filter(|line| line.contains("--hash=sha256:")).count();
            assert_eq!(hashes, 2 * packages, "{requirements}");
        }
    }

    #[test]
    fn the_configuration_names_the_finished_place() {
        let plan = Plan {
            triple: "x86_64-unknown-linux-gnu".into(),
            mlx_c: "/crate/src/mlx-c".into(),
            version: "0.32.2".into(),
            out: "/repo/.mlx".into(),
            stamp: "a".into(),
        };
        let config = plan.cargo_config();
        assert!(config.contains("[target.x86_64-unknown-linux-gnu.mlx]"), "{config}");
        assert!(config.contains("OUT_DIR = \"/repo/.mlx\""), "{config}");
        let other = Plan { stamp: "b".into(), ..plan }.cargo_config();
        assert_ne!(config, other, "cargo must notice that something went in");
    }

    #[test]
    fn a_folder_without_its_stamp_is_not_done() {
        let scratch = Scratch::new("stamp");
        let plan = Plan {
            triple: "t".into(),
            mlx_c: "m".into(),
            version: "v".into(),
            out: scratch.0.clone(),
            stamp: "everything".into(),
        };
        assert!(!plan.is_done());
        write(&scratch.0.join("stamp"), "everyth").expect("half a stamp");
        assert!(!plan.is_done());
        write(&scratch.0.join("stamp"), "everything").expect("a stamp");
        assert!(plan.is_done());
    }

    #[test]
    fn a_bundle_has_every_source_once() {
        let scratch = Scratch::new("bundle");
        let sources: Vec<_> = (0..9).map(|i| scratch.0.join(format!("{i}.cpp"))).collect();
        for (i, source) in sources.iter().enumerate() {
            write(source, "x".repeat(i)).expect("a source");
        }
        let bundles = bundle(&sources, &scratch.0.join("work")).expect("bundles");
        let texts = bundles.iter().map(|path| fs::read_to_string(path).expect("written"));
        let texts = texts.collect::<String>();
        for source in &sources {
            assert_eq!(texts.matches(&format!("{}\"", source.display())).count(), 1, "{texts}");
        }
    }

    #[test]
    fn a_compiler_error_is_shown() {
        let scratch = Scratch::new("compile");
        let sources: Vec<_> = (0..4).map(|i| scratch.0.join(format!("{i}.cpp"))).collect();
        for source in &sources {
            write(source, "").expect("a source");
        }
        let error = compile_all(&sources, &scratch.0.join("objects"), || {
            let mut command = Command::new("sh");
            command.args(["-c", "echo no such thing >&2; exit 1"]);
            command
        });
        let error = format!("{:#}", error.expect_err("nothing compiles"));
        assert!(error.contains("no such thing"), "{error}");
    }
}
