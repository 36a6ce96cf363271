defmodule AxonPort.Router do
  @moduledoc """
  Finds the worker that a request goes to.
  """

  alias AxonPort.{Error, Request, Worker}

  @doc "Sends a request and waits for its outcome."
  @spec call(AxonPort.server(), Request.t(), pos_integer) :: {:ok, term} | {:error, Error.t()}
  def call(server, request, _attempts), do: Worker.call(server, request)

  @doc "Opens a request whose messages go to `sink`, or to an alias of the calling process."
  @spec open(AxonPort.server(), Request.t(), pid | :alias) ::
          {:ok, Worker.opened()} | {:error, Error.t()}
  def open(server, request, sink), do: Worker.open(server, request, sink)

  @doc "The workers of a server."
  @spec workers(AxonPort.server()) :: [Worker.server()]
  def workers(server), do: [server]

  @doc "Creates an agent."
  @spec create(AxonPort.server(), Request.t()) :: {:ok, map} | {:error, Error.t()}
  def create(server, request), do: Worker.call(server, request)

  @doc "Deletes an agent from all workers."
  @spec delete(AxonPort.server(), Request.t()) :: :ok | {:error, Error.t()}
  def delete(server, request), do: with({:ok, _empty} <- Worker.call(server, request), do: :ok)
end
