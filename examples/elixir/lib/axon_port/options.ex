defmodule AxonPort.Options do
  @moduledoc """
  What a worker is started with, checked once, before anything starts.

  | option | default | meaning |
  | --- | --- | --- |
  | `:command` | found | the program and its first arguments: `["/opt/venv/bin/axon-port"]` |
  | `:args` | `[]` | more arguments |
  | `:env` | `[]` | `{name, value}` for the worker's environment; `nil` takes one away. Or a function that returns these |
  | `:cd` | the node's | its working directory |
  | `:stderr` | `:inherit` | `:log` sends the worker's stderr to the Logger, a line each |
  | `:log_level` | the worker's | what the worker logs: `:debug`, `:info`, `:warning`, `:error`, `:critical` |
  | `:allow_import`, `:allow_capability` | `[]` | what the worker may import and start |
  | `:max_frame_bytes`, `:max_inflight`, `:max_tool_calls` | the worker's | its bounds |
  | `:ready_timeout` | 60000 | ms until the worker has to be ready |
  | `:grace` | 5000 | ms that runs under way have when the worker is stopped |
  | `:max_queued_bytes` | 64 MiB | of commands that the worker has not read: more are `:overloaded` |
  | `:task_supervisor` | its own | the `Task.Supervisor` under which tools run; beyond its `:max_children` calls fail |
  | `:name` | none | the name of the process, as in `GenServer` |

  Without `:command` the worker is `$AXON_PORT_PYTHON -m axon_port` if that variable is set, else `axon-port` of the
  `PATH`, else `python3 -m axon_port`.

  Options that are inspected do not show the environment: it may hold keys. Nor does an error about it, or about what
  else a program is started with. Who formats a supervisor's status with `~p` of Erlang sees a list all the same, and of
  a function nothing.
  """

  import AxonPort.Milliseconds, only: [is_milliseconds: 1]

  alias AxonPort.Stacktrace

  @levels [:debug, :info, :warning, :error, :critical]

  @derive {Inspect, except: [:env]}
  defstruct [
    :command,
    :cd,
    :log_level,
    :max_frame_bytes,
    :max_inflight,
    :max_tool_calls,
    :task_supervisor,
    :name,
    :guard,
    :load,
    args: [],
    env: [],
    stderr: :inherit,
    allow_import: [],
    allow_capability: [],
    ready_timeout: 60_000,
    grace: 5_000,
    max_queued_bytes: 64 * 1024 * 1024
  ]

  @typedoc """
  `guard` is a process that is sent `{:axon_port_started, worker, os_pid}` and `{:axon_port_ready, worker, info}`; `load`
  counts the runs under way. Both are the pool's.
  """
  @type t :: %__MODULE__{
          command: [String.t(), ...] | nil,
          args: [String.t()],
          env: env | (() -> env),
          cd: Path.t() | nil,
          stderr: :inherit | :log,
          log_level: Logger.level() | nil,
          allow_import: [String.t()],
          allow_capability: [String.t()],
          max_frame_bytes: pos_integer | nil,
          max_inflight: pos_integer | nil,
          max_tool_calls: pos_integer | nil,
          ready_timeout: pos_integer,
          grace: non_neg_integer,
          max_queued_bytes: pos_integer,
          task_supervisor: Supervisor.supervisor() | nil,
          name: GenServer.name() | nil,
          guard: pid | nil,
          load: :atomics.atomics_ref() | nil
        }

  @type env :: [{String.t(), String.t() | nil}]

  @doc "The options, checked. Raises `ArgumentError`, which names the one that is wrong."
  @spec new(keyword | t) :: t
  def new(%__MODULE__{} = options), do: options

  def new(options) do
    Keyword.keyword?(options) or raise ArgumentError, "the options of a worker have to be a keyword list"
    known = Map.keys(%__MODULE__{}) -- [:__struct__]

    for {key, value} <- options, value != nil do
      key in known || raise ArgumentError, "unknown option #{inspect(key)}, the options are #{inspect(known)}"
      valid?(key, value) || raise ArgumentError, wrong(key, value)
    end

    struct!(__MODULE__, for({key, value} <- options, value != nil, do: {key, value}))
  end

  # What may hold a key is not shown.
  defp wrong(:env, _value) do
    ":env has to be a list of {name, value}, or a function that gives one: texts without NUL, names that are not empty " <>
      "and have no =, or nil for a value"
  end

  defp wrong(key, _value) when key in [:command, :args],
    do: "#{inspect(key)} has to be a list of texts, which have no NUL"

  defp wrong(key, value), do: "#{inspect(key)} cannot be #{inspect(value)}"

  defp valid?(:command, value), do: value != [] and texts?(value)
  defp valid?(key, value) when key in [:args, :allow_import, :allow_capability], do: texts?(value)
  defp valid?(:env, value), do: is_function(value, 0) or env?(value)
  defp valid?(:cd, value), do: text?(value)
  defp valid?(:stderr, value), do: value in [:inherit, :log]
  defp valid?(:log_level, value), do: value in @levels
  defp valid?(:grace, value), do: value == 0 or is_milliseconds(value)
  defp valid?(:ready_timeout, value), do: is_milliseconds(value)
  defp valid?(:name, value), do: is_atom(value) or match?({:global, _}, value) or match?({:via, _, _}, value)
  defp valid?(:task_supervisor, value), do: is_pid(value) or is_atom(value) or is_tuple(value)
  defp valid?(:load, value), do: is_reference(value)
  defp valid?(:guard, value), do: is_pid(value)
  defp valid?(_number, value), do: is_integer(value) and value > 0

  defp texts?(value), do: is_list(value) and Enum.all?(value, &text?/1)

  # What the operating system takes: anything else would fail in the port, whose error shows it.
  defp text?(value), do: is_binary(value) and String.valid?(value) and not String.contains?(value, <<0>>)

  defp env?(value), do: is_list(value) and Enum.all?(value, &variable?/1)

  defp variable?({name, value}) do
    text?(name) and name != "" and not String.contains?(name, "=") and (is_nil(value) or text?(value))
  end

  defp variable?(_other), do: false

  @doc "The environment of a worker that is started now. Raises `ArgumentError`, which shows none of it."
  @spec env(t) :: env
  def env(%__MODULE__{env: env}) when is_list(env), do: env

  def env(%__MODULE__{env: function}) do
    env = Stacktrace.call(function)
    if env?(env), do: env, else: raise(ArgumentError, wrong(:env, env))
  end

  @doc "The program and all its arguments."
  @spec command_line(t) :: {:ok, Path.t(), [String.t()]} | {:error, AxonPort.Error.t()}
  def command_line(%__MODULE__{} = options) do
    [program | first] = options.command || found()

    case System.find_executable(program) do
      nil -> {:error, AxonPort.Error.new(:worker_not_started, "there is no program #{inspect(program)}")}
      path -> {:ok, path, first ++ flags(options) ++ options.args}
    end
  end

  defp found do
    case {System.get_env("AXON_PORT_PYTHON"), System.find_executable("axon-port")} do
      {python, _} when python not in [nil, ""] -> [python, "-m", "axon_port"]
      {_, nil} -> ["python3", "-m", "axon_port"]
      {_, path} -> [path]
    end
  end

  defp flags(options) do
    numbers =
      for key <- [:max_frame_bytes, :max_inflight, :max_tool_calls, :log_level],
          value = Map.fetch!(options, key),
          do: [flag(key), to_string(value)]

    lists =
      for key <- [:allow_import, :allow_capability], value <- Map.fetch!(options, key), do: [flag(key), value]

    List.flatten(numbers ++ lists)
  end

  defp flag(key), do: "--" <> (key |> Atom.to_string() |> String.replace("_", "-"))
end
