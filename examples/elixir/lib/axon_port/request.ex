defmodule AxonPort.Request do
  @moduledoc """
  One command that is under way: who asked, where the answer goes, what belongs to it.

  Callers make it with `new/3`; the worker's owner adds `id`, `sink` and `watch` when it takes it over, and the
  session keeps it until its terminal frame.
  """

  alias AxonPort.Command

  # The deps of a run may hold keys.
  @derive {Inspect, except: [:deps]}
  @enforce_keys [:kind, :command]
  defstruct [
    :kind,
    :command,
    :id,
    :ref,
    :owner,
    :agent,
    :agent_id,
    :create,
    :deps,
    :output,
    :started_at,
    :watch,
    :needs,
    :replaces,
    :until,
    sink: :none,
    timeout: :infinity,
    margin: 0,
    bounded: false,
    state: :open,
    calls: %{},
    counted: false
  ]

  @typedoc """
  `:run` and `:stream` are runs, with tool calls and a cancel; `:create` and `:delete` change the agents that the
  session remembers; `:command` is any other.
  """
  @type kind :: :run | :stream | :create | :delete | :command

  @typedoc """
  Where the answer goes: to a `GenServer.call/3`, as messages `{:axon_port, ref, _}` to a process or an alias, or
  nowhere.
  """
  @type sink :: {:call, GenServer.from()} | {:send, pid | reference, reference} | :none

  @typedoc """
    * `ref` - what the caller knows it by
    * `owner` - the process whose death cancels it
    * `agent` - whom to run, with the tools that its calls are answered by; `agent_id` is its name
    * `create` - the `create_agent` of `agent`, which goes ahead where the worker does not have it
    * `timeout` - how long the caller waits, from when the owner takes it over, and `until` when that is over, by the
      clock of the caller's node; `margin` - how much longer if the worker is to say itself that it took too long
    * `bounded` - whether the worker is told of `timeout`: not where it alone may know the agent's
    * `output` - the type that its result is cast by, if it has one
    * `needs` - the id of the `create_agent` that went out for it, if that is still open
    * `replaces` - what the session remembered under the agent's name before this `create_agent`
    * `state` - `:abandoned` once its caller has been answered or is gone, and only the terminal frame is missing
    * `calls` - what the worker has asked for, by `call_id`
    * `counted` - whether the pool has counted it as load of the worker
    * `watch` - the owner's monitor and timer, opaque to the session
  """
  @type t :: %__MODULE__{
          kind: kind,
          command: Command.t(),
          id: pos_integer | nil,
          ref: reference | nil,
          owner: pid | nil,
          agent: term,
          agent_id: String.t() | nil,
          create: Command.t() | nil,
          deps: term,
          output: AxonPort.Schema.Type.notation(),
          started_at: integer | nil,
          watch: term,
          needs: pos_integer | nil,
          replaces: {agent :: term, created_by :: pos_integer} | nil,
          sink: sink,
          timeout: timeout,
          until: integer | nil,
          margin: non_neg_integer,
          bounded: boolean,
          state: :open | :abandoned,
          calls: %{String.t() => :tool | :approval},
          counted: boolean
        }

  @doc "A request. `fields` are those of the struct."
  @spec new(kind, Command.t(), keyword) :: t
  def new(kind, %Command{} = command, fields \\ []) do
    struct!(%__MODULE__{kind: kind, command: command}, fields)
  end

  @doc "The limit that the worker is told, if it is told of one. What has no time left has the shortest there is."
  @spec limit_ms(t) :: pos_integer | nil
  def limit_ms(%__MODULE__{bounded: true, timeout: timeout}), do: max(timeout, 1)
  def limit_ms(%__MODULE__{bounded: false}), do: nil

  @doc "Whether it is a run: something with tool calls, which can be cancelled."
  @spec run?(t) :: boolean
  def run?(%__MODULE__{kind: kind}), do: kind in [:run, :stream]
end
